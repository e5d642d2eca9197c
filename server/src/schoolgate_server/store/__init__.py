"""The only layer that knows MongoDB: what is kept, how it is committed, how it is read as of a seq.

Everything else talks to :class:`~schoolgate_server.store.store.Store`. Rules of this layer: every write of
a school's records goes through one commit, concerns are explicit, and no exception that leaves it quotes a
document.
"""
