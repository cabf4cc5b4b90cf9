// What a page does beyond showing itself: it takes in changed parts without a reload, reads plots out under the pointer
// and the arrow keys, and zooms. Without this file everything is still there: links move and zoom, tool tips read out.
"use strict";
(() => {
  const main = document.getElementById("main");
  const light = document.getElementById("live");
  if (!main || !main.dataset.fragment) return;

  // --- The view: what the address bar says. ---------------------------------------------------------------------
  const KEYS = ["lead", "scale", "from", "to"];
  let view = new URLSearchParams(location.search);
  const query = () => KEYS.filter((key) => view.get(key)).map((key) => `${key}=${encodeURIComponent(view.get(key))}`).join("&");

  // --- Parts: fetched again, and exchanged only where they differ. ----------------------------------------------
  const shown = new Map();
  let fetching = false, again = false, last = 0, pressed = false, exchanging = false, leaving = false;
  const PAUSE = 250; // at most four times a second

  function say(state, words) {
    if (light.className !== state) light.className = state;
    if (light.textContent !== words) light.textContent = words;
  }

  async function refresh() {
    if (fetching) { again = true; return; }
    fetching = true;
    again = false;
    const wait = last + PAUSE - performance.now();
    if (wait > 0) await new Promise((done) => setTimeout(done, wait));
    last = performance.now();
    try {
      const text = query();
      const answer = await fetch(main.dataset.fragment + (text ? `?${text}` : ""), { credentials: "same-origin", cache: "no-store" });
      if (leaving) return;
      if (answer.status === 401) { location.reload(); return; }
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const parts = [...page.querySelectorAll("[data-part]")];
      if (pressed) again = true; // a click needs the same element under it when it goes down and up
      else parts.forEach(exchange);
      if (!again) asked = null; // what is drawn is what was asked for
    } catch {
      say("off", "reconnecting");
    } finally {
      fetching = false;
      if (again) refresh();
    }
  }

  function exchange(part) {
    const html = part.outerHTML;
    if (shown.get(part.id) === html) return;
    const old = document.getElementById(part.id);
    if (!old || isBeingSelected(old)) return;
    shown.set(part.id, html);
    const open = [...old.querySelectorAll("details[id]")].map((d) => [d.id, d.open]);
    const focus = old.contains(document.activeElement) ? pathOf(document.activeElement, old) : null;
    const scrolled = [...old.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
    // A log that was read at its end is shown at its end again.
    const read = [...old.querySelectorAll("pre.output")].map((box) => box.scrollHeight - box.scrollTop - box.clientHeight < 8 ? 1e9 : box.scrollTop);
    const fresh = document.importNode(part, true);
    exchanging = true; // taking the old part away blurs it; that is nobody's wish
    old.replaceWith(fresh);
    for (const [id, isOpen] of open) { const d = document.getElementById(id); if (d) d.open = isOpen; }
    [...fresh.querySelectorAll(".scroll")].forEach((box, i) => { box.scrollLeft = scrolled[i] || 0; });
    [...fresh.querySelectorAll("pre.output")].forEach((box, i) => { box.scrollTop = read[i] === undefined ? 1e9 : read[i]; });
    if (focus) { const target = fresh.querySelector(focus); if (target) target.focus({ preventScroll: true }); }
    fresh.querySelectorAll("svg.plot").forEach(equip);
    exchanging = false;
  }

  function isBeingSelected(part) {
    const selection = getSelection();
    return !selection.isCollapsed && part.contains(selection.anchorNode);
  }

  addEventListener("pointerdown", () => { pressed = true; }, true);
  for (const end of ["pointerup", "pointercancel", "dragend", "blur"]) {
    addEventListener(end, () => setTimeout(() => { pressed = false; }), true);
  }

  addEventListener("submit", (event) => { if (!event.defaultPrevented) leaving = true; }); // signing out must not race with a part that is refused

  function pathOf(element, root) {
    if (element.dataset.plot !== undefined) return `svg.${element.classList[1]}`;
    if (element.dataset.set) return `[data-set="${CSS.escape(element.dataset.set)}"]`;
    if (element.dataset.move) return `[data-move="${CSS.escape(element.dataset.move)}"]`;
    if (element.tagName === "SUMMARY" && element.parentElement.id) return `#${CSS.escape(element.parentElement.id)} > summary`;
    return element.id && root.contains(element) ? `#${CSS.escape(element.id)}` : null;
  }

  // --- Reading a plot out. ---------------------------------------------------------------------------------------
  const chosen = new Map(); // plot -> period, so that a cross hair survives an exchange

  function equip(plot) {
    const columns = [...plot.querySelectorAll(".columns rect")];
    if (!columns.length) return;
    for (const column of columns) {
      const title = column.querySelector("title");
      column.dataset.text = title ? title.textContent : "";
      if (title) title.remove(); // the read-out says it; a tool tip on top would say it twice
    }
    const box = document.createElement("div");
    box.className = "readout";
    plot.parentElement.append(box);
    const cross = plot.querySelector(".cross");
    const kind = plot.classList[1];

    const hide = () => { chosen.delete(kind); cross.classList.remove("on"); box.classList.remove("on"); };
    const show = (column, isSpoken) => {
      if (!column) return hide();
      chosen.set(kind, column.dataset.period);
      cross.setAttribute("x1", column.dataset.at);
      cross.setAttribute("x2", column.dataset.at);
      cross.classList.add("on");
      box.textContent = column.dataset.text;
      box.classList.add("on");
      if (isSpoken) box.setAttribute("role", "status"); else box.removeAttribute("role");
      const scale = plot.clientWidth / plot.viewBox.baseVal.width;
      const at = Number(column.dataset.at) * scale, room = plot.clientWidth - box.offsetWidth - 4;
      box.style.left = `${Math.max(0, at + 14 < room ? at + 14 : at - box.offsetWidth - 14)}px`;
      box.style.top = `${48 * scale}px`;
    };
    const now = () => columns.findIndex((column) => column.dataset.period === chosen.get(kind));
    const kept = now();
    if (kept >= 0) show(columns[kept], false); else chosen.delete(kind);

    plot.addEventListener("pointermove", (event) => { if (event.target.dataset.period) show(event.target, false); });
    for (const end of ["pointerleave", "blur"]) plot.addEventListener(end, () => { if (!exchanging) hide(); });
    plot.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const at = now(), end = columns.length - 1;
      const step = (to) => show(columns[Math.min(end, Math.max(0, to))], true);
      const acts = {
        ArrowLeft: () => step(at < 0 ? end : at - 1), ArrowRight: () => step(at < 0 ? 0 : at + 1),
        PageUp: () => step(at < 0 ? end : at - 12), PageDown: () => step(at < 0 ? 0 : at + 12),
        Home: () => step(0), End: () => step(end), Escape: hide,
      };
      const zooms = kind === "record" ? { "+": () => zoom(0.5, at), "=": () => zoom(0.5, at), "-": () => zoom(2, at), "0": () => setWindow(null),
        ArrowLeft: event.shiftKey && (() => move(-0.25)), ArrowRight: event.shiftKey && (() => move(0.25)) } : {};
      const act = zooms[event.key] || acts[event.key];
      if (act) { event.preventDefault(); act(); }
    });
    if (kind === "record") {
      plot.addEventListener("wheel", (event) => {
        if (!event.ctrlKey && document.activeElement !== plot) return; // the page scrolls; a chosen plot zooms
        event.preventDefault();
        zoom(event.deltaY < 0 ? 0.8 : 1.25, columns.indexOf(event.target));
      }, { passive: false });
      plot.addEventListener("click", () => plot.focus({ preventScroll: true }));
    }
  }

  // --- The window of the record, in months since year 0; the server draws it. ------------------------------------
  const plotOf = () => document.querySelector("svg.record");
  const toNumber = (period) => { const [year, month = 1] = period.split("-").map(Number); return year * 12 + month - 1; };
  const toPeriod = (n) => `${String(Math.floor(n / 12)).padStart(4, "0")}-${String(((n % 12) + 12) % 12 + 1).padStart(2, "0")}`;
  let asked = null; // the newest wish, which may be ahead of what is drawn

  function bounds() {
    const { from, to, first, last: end } = plotOf().dataset;
    const whole = [toNumber(first), toNumber(end)];
    return { whole, now: asked || [toNumber(from), toNumber(to)] };
  }

  function setWindow(range) {
    const { whole } = bounds();
    view.delete("from");
    view.delete("to");
    if (range) {
      let [from, to] = range.map(Math.round);
      const width = Math.min(Math.max(to - from, 11), whole[1] - whole[0]);
      from = Math.min(Math.max(from, whole[0]), whole[1] - width);
      to = from + width;
      asked = [from, to];
      if (from > whole[0]) view.set("from", toPeriod(from));
      if (to < whole[1]) view.set("to", toPeriod(to));
    } else asked = whole;
    show();
  }

  function zoom(by, index) {
    const { now } = bounds();
    const columns = plotOf().querySelectorAll(".columns rect");
    const centre = index >= 0 && columns[index] ? toNumber(columns[index].dataset.period) : (now[0] + now[1]) / 2;
    setWindow([centre - (centre - now[0]) * by, centre + (now[1] - centre) * by]);
  }

  function move(by) {
    const { now } = bounds();
    const shift = Math.round((now[1] - now[0]) * by) || Math.sign(by);
    setWindow([now[0] + shift, now[1] + shift]);
  }

  function show() {
    const text = query();
    history.replaceState(null, "", location.pathname + (text ? `?${text}` : ""));
    refresh();
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest("a[data-set], a[data-move]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    if (link.dataset.move) return move(Number(link.dataset.move));
    const [key, value] = link.dataset.set.split("=");
    if (key === "window") {
      view = new URLSearchParams(new URL(link.href).search);
      asked = null;
    } else view.set(key, value);
    show();
  });

  // --- Being told. -----------------------------------------------------------------------------------------------
  function listen() {
    const source = new EventSource(main.dataset.stream);
    source.addEventListener("open", () => { say("on", "live"); refresh(); });
    source.addEventListener("changed", () => { say("on", "live"); if (!document.hidden) refresh(); });
    source.addEventListener("error", () => {
      say("off", "reconnecting");
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
    });
    window.addEventListener("pagehide", () => source.close(), { once: true });
  }

  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  document.querySelectorAll("svg.plot").forEach(equip);
  listen();
})();
