// The console of a pod: a program in one of its containers, line by line, over a WebSocket with the channels of Kubernetes.
// The first byte of a message is its channel.
"use strict";
(() => {
  const box = document.getElementById("console");
  if (!box) return;
  const start = box.querySelector("form.start"), talk = box.querySelector("form.talk");
  const output = box.querySelector("pre"), said = box.querySelector("[role=status]");
  const INPUT = 0, OUTPUT = 1, ERROR = 2, END = 3, CLOSE = 255;
  const MOST = 200000; // letters that stay on the page
  box.hidden = false;

  let socket = null;
  const say = (words) => { said.textContent = words; };

  function write(text, kind) {
    const atEnd = output.scrollHeight - output.scrollTop - output.clientHeight < 8;
    const last = output.lastChild;
    if (last && last.className === kind) {
      last.textContent += text;
    } else {
      const piece = document.createElement("span");
      piece.className = kind;
      piece.textContent = text;
      output.append(piece);
    }
    for (let extra = output.textContent.length - MOST; extra > 0; extra = output.textContent.length - MOST) {
      const first = output.firstChild;
      if (first.textContent.length <= extra) first.remove(); else first.textContent = first.textContent.slice(extra);
    }
    if (atEnd) output.scrollTop = output.scrollHeight;
  }

  function send(channel, bytes) {
    const message = new Uint8Array(bytes.length + 1);
    message[0] = channel;
    message.set(bytes, 1);
    socket.send(message);
  }

  function running(isOn) {
    start.hidden = isOn;
    talk.hidden = !isOn;
    (isOn ? talk.elements.line : start.elements.command).focus({ preventScroll: true });
  }

  function ended(text) {
    let status = {};
    try { status = JSON.parse(text); } catch { /* what cannot be read says nothing */ }
    say(status.status === "Success" ? "It has ended." : status.message || "It has ended.");
  }

  start.addEventListener("submit", (event) => {
    event.preventDefault();
    const query = new URLSearchParams({ stdin: "1", stdout: "1", stderr: "1", container: start.elements.container.value });
    for (const word of start.elements.command.value.split(/\s+/).filter(Boolean)) query.append("command", word);
    if (!query.has("command")) { say("What shall run?"); return; }
    const own = new URL(`${box.dataset.exec}?${query}`, location.href);
    own.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    output.replaceChildren();
    say("connecting");
    socket = new WebSocket(own, ["v5.channel.k8s.io"]);
    socket.binaryType = "arraybuffer";
    const decoders = { [OUTPUT]: new TextDecoder(), [ERROR]: new TextDecoder() };
    let hasEnd = false;
    socket.onopen = () => { say("running"); running(true); };
    socket.onmessage = ({ data }) => {
      const bytes = new Uint8Array(data), rest = bytes.subarray(1);
      if (decoders[bytes[0]]) {
        write(decoders[bytes[0]].decode(rest, { stream: true }), bytes[0] === ERROR ? "err" : "out");
      } else if (bytes[0] === END && rest.length) {
        hasEnd = true;
        ended(new TextDecoder().decode(rest));
      }
    };
    socket.onclose = () => {
      if (!hasEnd) say("The connection has ended.");
      socket = null;
      running(false);
    };
  });

  talk.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!socket || socket.readyState !== WebSocket.OPEN) return;
    const line = talk.elements.line.value + "\n";
    send(INPUT, new TextEncoder().encode(line));
    write(line, "own");
    talk.elements.line.value = "";
  });
  talk.elements.eof.addEventListener("click", () => { if (socket) send(CLOSE, [INPUT]); });
  talk.elements.hang.addEventListener("click", () => { if (socket) socket.close(); });
})();
