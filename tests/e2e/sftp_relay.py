"""Standard input and output of an SFTP client, as `sftp -D` wants them: upgrades a connection of the daemon's and passes the bytes."""

import os
import socket
import sys
import threading


def main():
    path, name = sys.argv[1:3]
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(path)
    peer.sendall(f"GET /1.0/instances/{name}/sftp HTTP/1.1\r\nHost: x\r\nUpgrade: sftp\r\nConnection: Upgrade\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = peer.recv(1)
        if not byte:
            sys.exit(f"refused: {head!r}")
        head += byte
    if b" 101 " not in head.split(b"\r\n")[0] or b"sftp" not in head:
        sys.exit(f"refused: {head!r} {peer.recv(4096)!r}")

    def outwards():
        while data := os.read(0, 65536):
            peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)

    threading.Thread(target=outwards, daemon=True).start()
    while data := peer.recv(65536):
        os.write(1, data)


main()
