"""The director's mind: everything it decides, and nothing it does.

No module here touches a socket, a clock, randomness or a log. Bytes, time and configuration come in
as arguments; bytes for neighbours and effects for the world go out. See README.md beside this file
for the layers, DESIGN.md for the reasons, PROTOCOL.md for the native wire.
"""
