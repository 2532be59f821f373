"""Who may work on a key: one at a time. Used by transactions of isolation level SERIALIZABLE.

`memory` is for threads of one process, `filesystem` for processes that share a folder, `kubernetes` for pods of one
namespace.
"""
