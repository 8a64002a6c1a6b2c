"""Stand-ins of the original programs, written from the description of their behaviour.

They serve one request per connection, one after another, on one thread, refuse messages of 8192
bytes or more and know nothing of extensions. They are stricter than the originals where that
shows a mistake of a peer: a connection that is opened and left idle stops them.
"""
