"""The gRPC side: checks what comes in, asks the store and the supervisor, shapes what goes out.

The only layer besides ``main`` and ``cli`` that knows gRPC. Nothing here decides what the data means or talks
to MongoDB: a servicer checks a request as a whole, makes one or two calls below, and answers. Errors are
raised as :class:`~schoolgate_server.model.errors.ServiceError`; one interceptor turns them into
``google.rpc.Status``.
"""
