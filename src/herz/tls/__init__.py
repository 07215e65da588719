"""The TLS guard: an address that promises encryption gets it, or nothing starts.

`guard` decides about listen addresses and client endpoints before anything is bound or connected, `listener` binds what
has passed. Certificates are looked at with the standard library's ssl, so nothing has to be installed for it.
"""
