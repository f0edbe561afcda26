"""Past one machine: several servers behind one address (`serve`), and data sets (`data`).

Extra `ray`. `gateway` alone needs no cluster: it is an ASGI application.
"""
