#!/usr/bin/env python3
"""HTCondor's programs as far as the engine uses them, for tests where there is no HTCondor: a pool of this machine.

Called as condor_submit, condor_q, condor_rm, condor_history or condor_status. Jobs are files of POOL_DIR, which stands beside this
program as `pool`. Where the package `htcondor` is there, its own parser reads submit descriptions, its ClassAds evaluate constraints.
"""
import json, os, shlex, signal, subprocess, sys, time
from pathlib import Path

POOL = Path(sys.argv[0]).resolve().parent / "pool"
NAME = Path(sys.argv[0]).name
try:
    os.environ.setdefault("CONDOR_CONFIG", "/dev/null")
    import classad2, htcondor2
except ImportError:
    classad2 = htcondor2 = None


def option(name):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else None


def described(path):
    text = Path(path).read_text()
    if htcondor2:
        return dict(htcondor2.Submit(text))
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {name.strip().replace("+", "MY."): value.strip() for name, value in pairs}


def matches(ad, constraint):
    if constraint is None:
        return True
    if classad2:
        plain = {name: value for name, value in ad.items() if value is not None}
        return bool(classad2.ExprTree(constraint).eval(classad2.ClassAd(plain)) is True)
    if constraint.startswith("stringListMember(DtePod"):
        return ad["DtePod"] in constraint.split('"')[1].split(",")
    terms = constraint.split(" && ")
    return all(holds(ad, *term.partition(" != " if " != " in term else " == ")) for term in terms)


def holds(ad, name, operator, value):
    return (str(ad.get(name)) == value.strip('"')) == (operator == " == ")


def load(path):
    ad = json.loads(path.read_text())
    alive = Path(f"/proc/{ad['Pid']}").exists() if ad["Pid"] else False
    code = Path(ad["Code"])
    # The starter writes it in a moment.
    if ad["JobStatus"] == 2 and not alive and code.exists() and code.read_text().strip():
        value = int(code.read_text())
        end = {"ExitSignal": value - 128} if value > 128 else {"ExitCode": value}
        ad.update(JobStatus=4, ExitBySignal=value > 128, EnteredCurrentStatus=int(time.time()), **end)
        save(path, ad)
    return ad


def save(path, ad):
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(ad))
    draft.rename(path)


def all_jobs(where):
    return [(path, load(path)) for path in sorted((POOL / where).glob("*.json"))]


def show(ads):
    wanted = option("-attributes").split(",")
    shown = [{name: ad[name] for name in wanted if ad.get(name) is not None} for ad in ads]
    if shown:
        print("[\n" + "\n,\n".join(json.dumps(ad) for ad in shown) + "\n]")


def start(job, words, code):
    """A starter of its own session, which notes how the job ended. Answers the job's number, which is also that of its group."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        nothing = os.open("/dev/null", os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nothing, standard)
        with open(job["output"], "w") as out:
            child = subprocess.Popen([job["executable"], *words], cwd=job["initialdir"], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                     start_new_session=True, env={"PATH": "/usr/bin:/bin"})
        os.write(writing, str(child.pid).encode())
        os.close(writing)
        ended = child.wait()
        Path(code).write_text(str(ended if ended >= 0 else 128 - ended))
        os._exit(0)
    os.close(writing)
    return int(os.read(reading, 20))


def submit():
    job = described(sys.argv[-1])
    unquoted = lambda text: text.strip().strip('"')
    cluster = int((POOL / "next").read_text()) if (POOL / "next").exists() else 1
    while True:  # the number is whoever's file it is
        try:
            (POOL / f"taken.{cluster}").touch(exist_ok=False)
            break
        except FileExistsError:
            cluster += 1
    if int(job.get("request_memory", 0)) > 100000:
        print("ERROR: on Line 1 of submit file: request_memory is more than any machine has", file=sys.stderr)
        sys.exit(1)
    now = int(time.time())
    ad = {"ClusterId": cluster, "ProcId": 0, "DtePod": unquoted(job["MY.DtePod"]), "DteSite": unquoted(job["MY.DteSite"]), "JobStatus": 1,
          "EnteredCurrentStatus": now, "Pid": None, "Code": str(POOL / f"code.{cluster}"), "Submit": job}
    if job.get("MY.TestHold"):
        ad.update(JobStatus=5, HoldReasonCode=int(job["MY.TestHold"]), HoldReason="Error from node7: cannot enter the folder")
    elif job.get("concurrency_limits") == "nobody":
        pass
    else:
        words = shlex.split(unquoted(job["arguments"]))
        ad.update(JobStatus=2, Pid=start(job, words, ad["Code"]), RemoteHost="slot1_1@here", NumJobStarts=1)
    save(POOL / "queue" / f"{cluster}.json", ad)
    print(f"{cluster}.0 - {cluster}.0")


def remove():
    found = [(path, ad) for path, ad in all_jobs("queue") if matches(ad, option("-constraint"))]
    if not found:
        print(f"Couldn't find/remove all jobs matching constraint ({option('-constraint')})", file=sys.stderr)
        sys.exit(1)
    for path, ad in found:
        if ad["JobStatus"] == 2:
            os.kill(ad["Pid"], signal.SIGTERM)
        ad.update(JobStatus=3, RemoveReason="via condor_rm (by user twin)")
        save(path, ad)
        path.rename(POOL / "history" / path.name)
    print(f"All jobs matching constraint ({option('-constraint')}) have been marked for removal")


(POOL / "queue").mkdir(parents=True, exist_ok=True)
(POOL / "history").mkdir(exist_ok=True)
with open(POOL / "asked", "a") as asked:
    asked.write(f"{NAME} {' '.join(sys.argv[1:])}\n")
if NAME == "condor_submit":
    submit()
elif NAME == "condor_q":
    for path, ad in all_jobs("queue"):
        # Ended jobs leave the queue after a while.
        if ad["JobStatus"] == 4 and time.time() - ad["EnteredCurrentStatus"] > 2:
            path.rename(POOL / "history" / path.name)
    show([ad for _, ad in all_jobs("queue") if matches(ad, option("-constraint"))])
elif NAME == "condor_history":
    found = [ad for _, ad in reversed(all_jobs("history")) if matches(ad, option("-constraint"))]
    show(found[: int(option("-limit"))])
elif NAME == "condor_rm":
    remove()
elif NAME == "condor_status":
    show([{"Machine": "here", "TotalCpus": 4, "TotalMemory": 1000}] * 2)
else:
    sys.exit(f"{NAME} is not known here")
