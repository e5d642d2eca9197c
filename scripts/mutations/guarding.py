"""What keeps schools, secrets and the process safe, and writes single."""

from __future__ import annotations

from scripts.mutations.base import AT_WONDE, BROMCOM, ENGINE, WONDE, Mutant

MUTANTS = (
    Mutant(
        "g16",
        "a defect quotes the exception's text",
        "server/src/schoolgate_server/model/failures.py",
        'return f"{name} at',
        'return f"{name} {error} at',
        "tests/unit/server/model",
        "g16",
    ),
    Mutant(
        "g16",
        "an error quotes what is sent with every request",
        "plugins/src/schoolgate_sdk/http.py",
        'asked for a pause", until=until',
        'asked for a pause {self._connection.credentials}", until=until',
        f"{ENGINE}/test_g16_planted_secrets.py",
        "g16",
    ),
    Mutant(
        "g17",
        "one school's failures open the circuit of a whole host",
        "plugins/src/schoolgate_sdk/traffic.py",
        "_PARTIES_PER_HOST: Final = 2",
        "_PARTIES_PER_HOST: Final = 1",
        f"{ENGINE}/test_politeness.py",
        "g17",
    ),
    Mutant(
        "g11",
        "what Wonde does not show yet did not happen",
        f"{WONDE}/writing.py",
        "if began is None or self._now() - began < settles:",
        "if False:",
        AT_WONDE,
        "g11",
    ),
    Mutant(
        "g16",
        "Wonde's texts about refused fields are quoted",
        f"{WONDE}/client.py",
        "            raise FieldErrors(resource, _names(found))\n",
        '            raise Unsupported(bytes(request.body or b"").decode(), entity=resource)\n',
        AT_WONDE,
        "g16",
    ),
    Mutant(
        "g18",
        "an answer over SOAP may have a document type",
        f"{BROMCOM}/soap_xml.py",
        "    parser.StartDoctypeDeclHandler = _refuse\n",
        "",
        "tests/unit/bromcom/test_soap_xml.py",
        "g18",
    ),
    Mutant(
        "g17",
        "a partner's credentials go to whoever points at the partner's address",
        "server/src/schoolgate_server/sync/partners.py",
        "if known_by is None or any(given.get(name) != value for name, value in known_by.items()):",
        "if False:",
        f"{ENGINE}/test_partners.py",
        "g17",
    ),
    Mutant(
        "g11",
        "a mark of another lesson of that day is taken for the one that was written",
        f"{WONDE}/writing.py",
        "            and (self.resource == SESSION or mark.period_name == self.period_name)\n",
        "",
        f"{AT_WONDE}/test_lesson_marks.py",
        "g11",
    ),
    Mutant(
        "g09",
        "what a parser leaves out of a row is no decision",
        "server/src/schoolgate_server/ingest/projection.py",
        "        if left_out:\n",
        "        if False:\n",
        "tests/unit/server/ingest/test_projection.py",
        "g09",
    ),
)
