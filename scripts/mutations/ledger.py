"""The ledger: one write per key, changed by nobody unseen, unreadable, and nothing allowed by itself."""

from __future__ import annotations

from scripts.mutations.base import Mutant

WRITES = "server/src/schoolgate_server/store/writes.py"
DOCUMENTS = "server/src/schoolgate_server/store/write_documents.py"
POLICIES = "server/src/schoolgate_server/store/write_policies.py"
IN_LEDGER = "tests/contract/store/test_writes.py"
SEALED = "tests/contract/store/test_writes_sealed.py"
IN_POLICIES = "tests/contract/store/test_write_policies.py"

MUTANTS = (
    Mutant(
        "g16",
        "a task names a pupil in plain",
        DOCUMENTS,
        '    plain.ClearField("task")\n',
        "",
        SEALED,
        "g16_keys and mongomock",
    ),
    Mutant(
        "g16",
        "keys of the MIS are stored in plain",
        DOCUMENTS,
        "[key_digest(write.school_id, key) for key in entry.keys]",
        "list(entry.keys)",
        SEALED,
        "g16_keys and mongomock",
    ),
    Mutant(
        "g19",
        "a primary that was cut off says what is in force",
        POLICIES,
        "found = await self._latest.find_one(",
        "found = await self._policies.find_one(",
        "tests/replicaset/test_g19_cut_off.py",
        "without_its_set",
    ),
    Mutant(
        "g11",
        "a key can have several writes",
        DOCUMENTS,
        '"_id": write.write_id,',
        '"_id": f"{write.write_id}{id(entry)}",',
        IN_LEDGER,
        "of_many_at_once",
    ),
    Mutant(
        "g11",
        "a write is changed whatever it has become since it was read",
        WRITES,
        '{"_id": write.write_id, "school": write.school_id, "revision": before},',
        '{"_id": write.write_id, "school": write.school_id},',
        IN_LEDGER,
        "of_many_changes_at_once",
    ),
    Mutant(
        "g11",
        "who read a write before it was queued again can still stop it",
        WRITES,
        'change = {"$set": {"due_at": now}, "$inc": {"revision": 1}}',
        'change = {"$set": {"due_at": now}}',
        IN_LEDGER,
        "becomes_due_again",
    ),
    Mutant(
        "g11",
        "a write whose contents are lost is queued again",
        WRITES,
        'query |= {"awaits_approval": False, "sealed": {"$exists": True}}',
        'query |= {"awaits_approval": False}',
        SEALED,
        "loss_of_the_master_key",
    ),
    Mutant(
        "g16",
        "what is to be written is readable in the database",
        DOCUMENTS,
        '    plain.ClearField("operation")\n',
        "",
        SEALED,
        "readable",
    ),
    Mutant(
        "g16",
        "what was sent is readable in the database",
        DOCUMENTS,
        '        attempt.ClearField("sent")\n',
        "",
        SEALED,
        "readable",
    ),
    Mutant(
        "g16",
        "what was answered is readable in the database",
        DOCUMENTS,
        '        attempt.ClearField("response")\n',
        "",
        SEALED,
        "readable",
    ),
    Mutant(
        "g17",
        "a write is found by whoever knows its id",
        WRITES,
        'find_one({"_id": write_id, "school": school_id})',
        'find_one({"_id": write_id})',
        IN_LEDGER,
        "a_key_is_a_schools_own",
    ),
    Mutant(
        "g18",
        "every attempt is kept",
        DOCUMENTS,
        "        del write.attempts[FIRST_ATTEMPTS:-LAST_ATTEMPTS]\n",
        "        pass\n",
        SEALED,
        "stays_small",
    ),
    Mutant(
        "g19",
        "a copy of the database elsewhere finds what is queued here",
        WRITES,
        'query = {"environment": environment, "school": school_id, "due_at": {"$lte": now}}',
        'query = {"school": school_id, "due_at": {"$lte": now}}',
        IN_LEDGER,
        "environments",
    ),
    Mutant(
        "g19",
        "a policy holds in every environment",
        POLICIES,
        'return f"{school_id}:{environment}"',
        'return f"{school_id}"',
        IN_POLICIES,
        "one_environment",
    ),
    Mutant(
        "g19",
        "what nobody has spoken of may be sent",
        "server/src/schoolgate_server/model/write_policies.py",
        "policy: pb.WritePolicy.ValueType = pb.WRITE_POLICY_OFF",
        "policy: pb.WritePolicy.ValueType = pb.WRITE_POLICY_ON",
        IN_POLICIES,
        "is_off",
    ),
)
