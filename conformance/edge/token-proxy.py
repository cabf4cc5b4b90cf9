"""A proxy on 127.0.0.1 that shows a bearer token (DTE_TOKEN) for clients that know basic authentication only.

token-proxy.py HOST:PORT FILE writes the port that it listens on to FILE.
"""
import http.client, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
target, token = sys.argv[1], os.environ["DTE_TOKEN"]
class Pass(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def handle_one_request(self):
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request(): self.close_connection = True; return
        length = int(self.headers.get("Content-Length") or 0)
        chunked = "chunked" in (self.headers.get("Transfer-Encoding") or "")
        body = self.rfile.read(length) if length else b""
        while chunked:
            size = int(self.rfile.readline().split(b";")[0], 16)
            body += self.rfile.read(size); self.rfile.readline()
            if size == 0: break
        upstream = http.client.HTTPConnection(target)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() in ("transfer-encoding", "content-length", "authorization", "connection", "expect", "te"): continue
            # What names this proxy is meant for the server behind it.
            if name.lower() in ("destination", "if", "host"): value = value.replace(self.headers["Host"], target)
            upstream.putheader(name, value)
        upstream.putheader("Authorization", "Bearer " + token)
        upstream.putheader("Content-Length", str(len(body)))
        upstream.endheaders(body)
        answer = upstream.getresponse()
        data = answer.read()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection"): self.send_header(name, value)
        if answer.getheader("Content-Length") is None: self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        upstream.close()
server = ThreadingHTTPServer(("127.0.0.1", 0), Pass)
open(sys.argv[2], "w").write(str(server.server_port))
server.serve_forever()
