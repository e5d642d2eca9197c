"""The `schoolgate` command.

``serve``, ``simulate``, ``demo`` and ``token`` do their work here; every other command is a gRPC client and
knows of schools only what any client can know. So nothing here opens the database, or imports a connector by
its name.
"""
