"""The commands `viewleader.py`, `server.py` and `client.py`."""
