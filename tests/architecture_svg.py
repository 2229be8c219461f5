#!/usr/bin/env python3
"""Draws the threads, sockets and files of a running proxy.

    tests/architecture_svg.py     writes notes/architecture.svg and the Chinese
                                  notes/zh/architecture.svg
"""
import os
from xml.sax.saxutils import escape

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WIDTH, HEIGHT = 1000, 620

ENGLISH = {
    "title": "Threads, sockets and files of forward_proxy",
    "client": "client", "server": "origin server", "process": "the process forward_proxy",
    "accept": "accept thread, one per --listen address",
    "accept does": "accepts a connection, starts a thread for it",
    "thread": "client's thread: owns the socket and closes it",
    "reads": "reads the request head: relay, or tunnel?",
    "relay": "relay: GET, POST, ...",
    "response": "client's thread: brings the response back",
    "upload": "upload thread: sends the request body",
    "tunnel": "tunnel: CONNECT",
    "to client": "client's thread: copies towards the client",
    "to server": "second thread: copies towards the server",
    "sink": "sink thread: the only one that writes the log and the trace",
    "queue": "queue", "output": "stdout, stderr",
    "socket": "socket; the client's", "closes": "thread closes it",
}
CHINESE = {
    "title": "forward_proxy 的线程、套接字与源文件",
    "client": "客户端", "server": "源服务器", "process": "forward_proxy 进程",
    "accept": "accept 线程：每个 --listen 地址一个",
    "accept does": "接受连接，为每个连接启动一个线程",
    "thread": "客户端线程：拥有套接字，并由它关闭",
    "reads": "读取请求头部：转发，还是隧道？",
    "relay": "转发：GET、POST 等",
    "response": "客户端线程：把响应传回客户端",
    "upload": "上传线程：发送请求消息体",
    "tunnel": "隧道：CONNECT",
    "to client": "客户端线程：复制到客户端方向",
    "to server": "第二个线程：复制到服务器方向",
    "sink": "sink 线程：只有它写日志和跟踪",
    "queue": "队列", "output": "标准输出、标准错误",
    "socket": "套接字，", "closes": "由客户端线程关闭",
}

STYLE = """
text { font: 15px 'DejaVu Sans', 'Noto Sans CJK SC', sans-serif; fill: #1b1f24 }
.file { font-family: 'DejaVu Sans Mono', monospace; font-size: 13px; fill: #0b5394 }
.peer { font-size: 17px; font-weight: bold }
.box { fill: #fff; stroke: #57606a; stroke-width: 1.5 }
.process { fill: #f3f6fa; stroke: #57606a; stroke-width: 2 }
.thread { fill: #fff8e1; stroke: #9a6700; stroke-width: 1.5 }
.arrow { stroke: #1b1f24; stroke-width: 2; fill: none; marker-end: url(#head) }
.start { stroke: #9a6700; stroke-dasharray: 6 4 }
.socket { fill: #1f6feb; stroke: #fff; stroke-width: 2 }
"""


class Drawing:
    def __init__(self, words):
        self.words, self.parts = words, []

    def add(self, markup, *values):
        self.parts.append(markup % values)

    def text(self, x, y, word, kind="", anchor="middle"):
        self.add('<text x="%d" y="%d" class="%s" text-anchor="%s">%s</text>',
                 x, y, kind, anchor, escape(self.words.get(word, word)))

    def box(self, x, y, width, height, kind):
        self.add('<rect x="%d" y="%d" width="%d" height="%d" rx="8" class="%s"/>',
                 x, y, width, height, kind)

    def thread(self, x, y, width, word, file):
        self.box(x, y, width, 52, "thread")
        self.text(x + width // 2, y + 22, word)
        self.text(x + width // 2, y + 42, file, "file")

    def arrow(self, points, kind=""):
        self.add('<path d="M %s" class="arrow %s"/>',
                 " L ".join("%d %d" % point for point in points), kind)

    def socket(self, x, y):
        self.add('<circle cx="%d" cy="%d" r="8" class="socket"/>', x, y)

    def svg(self):
        return """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img">
<title>%s</title>
<style>%s</style>
<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7"
markerHeight="7" orient="auto"><path d="M 0 0 L 10 5 L 0 10 z"/></marker></defs>
<rect width="%d" height="%d" fill="#fff"/>
%s
</svg>
""" % (WIDTH, HEIGHT, escape(self.words["title"]), STYLE, WIDTH, HEIGHT,
            "\n".join(self.parts))


LEFT, RIGHT = 210, 790  # edges of the process
MIDDLE = (LEFT + RIGHT) // 2


def draw_peers(drawing):
    for x, word in ((20, "client"), (850, "server")):
        drawing.box(x, 226, 130, 280, "box")
        drawing.text(x + 65, 372, word, "peer")
    drawing.box(LEFT, 20, RIGHT - LEFT, 580, "process")
    drawing.text(LEFT + 16, 44, "process", "peer", "start")


def draw_threads(drawing):
    drawing.thread(270, 60, 460, "accept", "forward_proxy.cpp: accept_clients")
    drawing.arrow([(MIDDLE, 112), (MIDDLE, 138)], "start")
    drawing.thread(270, 140, 460, "thread", "forward_proxy.cpp: serve_client")
    drawing.text(MIDDLE, 214, "reads")
    for y, title, back, there, files in (
            (226, "relay", "response", "upload",
             ("http_relay.cpp: deliver", "http_relay.cpp: Upload")),
            (370, "tunnel", "to client", "to server",
             ("tunnel.cpp: pump", "tunnel.cpp: pump"))):
        drawing.box(250, y, 500, 136, "box")
        drawing.text(MIDDLE, y - 4 + 20, title)
        drawing.thread(280, y + 22, 440, there, files[1])
        drawing.thread(280, y + 80, 440, back, files[0])
        for edge in (LEFT, RIGHT):
            drawing.socket(edge, y + 77)
        drawing.arrow([(150, y + 60), (LEFT - 8, y + 70), (278, y + 48)])
        drawing.arrow([(722, y + 48), (RIGHT + 8, y + 70), (848, y + 60)])
        drawing.arrow([(848, y + 96), (RIGHT + 8, y + 84), (722, y + 106)])
        drawing.arrow([(278, y + 106), (LEFT - 8, y + 84), (152, y + 96)])
    drawing.arrow([(MIDDLE, 506), (MIDDLE, 530)])
    drawing.text(MIDDLE + 12, 524, "queue", "", "start")
    drawing.thread(250, 532, 500, "sink", "support/log/sink.cpp")
    drawing.arrow([(750, 558), (838, 558)])
    drawing.text(845, 563, "output", "", "start")
    drawing.socket(30, 540)
    drawing.text(46, 545, "socket", "", "start")
    drawing.text(46, 567, "closes", "", "start")


def main():
    for folder, words in (("notes", ENGLISH), ("notes/zh", CHINESE)):
        drawing = Drawing(words)
        draw_peers(drawing)
        draw_threads(drawing)
        with open(os.path.join(ROOT, folder, "architecture.svg"), "w",
                  encoding="utf-8") as file:
            file.write(drawing.svg())


if __name__ == "__main__":
    main()
