"""The `schoolgate` command.

``serve``, ``simulate``, ``demo`` and ``token`` do their work here; every other command is a gRPC client and
knows of schools only what any client can know. So nothing here opens the database, or imports a connector by
its name.
"""

import os

# Read when grpc is imported. Its own lines about connections that come and go would stand between the
# command's lines, and between the service's JSON; what fails is told by those who called.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
