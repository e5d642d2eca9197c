"""merge, proposals and resolve-proposal: which records are one entity, by an operator's word."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.table import Table

from schoolgate.v1.identity_service_pb2 import (
    IdentityProposal,
    ListIdentityProposalsRequest,
    MergeRecordsRequest,
    ResolveIdentityProposalRequest,
)
from schoolgate.v1.kind_pb2 import Kind
from schoolgate_server.cli import console, records
from schoolgate_server.cli.client import Client, client_command

School = Annotated[str, typer.Argument(help="Id of the school.", show_default=False)]
Comment = Annotated[str, typer.Option(help="Why, for the audit. Name no pupil here.")]

_DECISIONS = "--accept / --reject"


def merge(
    client: Client,
    school: School,
    merged_id: Annotated[
        str, typer.Argument(metavar="RECORD", help="Id of the record that goes.", show_default=False)
    ],
    survivor_id: Annotated[
        str, typer.Option("--into", metavar="RECORD", help="Id of the record that stays.", show_default=False)
    ],
    comment: Comment = "",
) -> None:
    """Merge one record into another one that is the same entity. Cannot be undone."""
    request = MergeRecordsRequest(
        school_id=school,
        survivor_id=survivor_id,
        merged_id=merged_id,
        comment=comment,
        request_id=str(uuid.uuid4()),
    )
    run = client.call(client.identity.MergeRecords, request).run
    console.out().print(console.clean(run.run_id))
    console.remark(f"next: schoolgate run {school} {run.run_id} --watch")


def _all_proposals(client: Client, school: str) -> Iterator[IdentityProposal]:
    token = ""
    while True:
        request = ListIdentityProposalsRequest(school_id=school, page_size=1000, page_token=token)
        answer = client.call(client.identity.ListIdentityProposals, request)
        yield from answer.proposals
        token = answer.next_page_token
        if not token:
            return


def _card(proposal: IdentityProposal) -> Table:
    # One below the other, because the ids are to be copied, and would be broken in a column of a table.
    return console.fields(
        [
            ("proposal", proposal.proposal_id),
            ("kind", Kind.Name(proposal.kind).removeprefix("KIND_").lower()),
            ("stays", proposal.survivor_id),
            ("goes", proposal.merged_id),
            ("because", proposal.evidence),
            ("since", console.moment(proposal.created_at)),
            ("run", proposal.run_id),
        ]
    )


def proposals(
    client: Client,
    school: School,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per line instead of a list for people.")
    ] = False,
) -> None:
    """List pairs of records that are likely one entity and wait for an operator's word, newest first."""
    if as_json:
        for proposal in _all_proposals(client, school):
            sys.stdout.write(json.dumps(records.as_json(proposal), ensure_ascii=False) + "\n")
        return
    found = list(_all_proposals(client, school))
    if not found:
        console.remark("nothing is proposed")
        return
    printer = console.out()
    for index, proposal in enumerate(found):
        if index:
            printer.print()
        printer.print(_card(proposal))
    console.remark(f"next: schoolgate resolve-proposal {school} PROPOSAL --accept (or --reject)")


def resolve_proposal(
    client: Client,
    school: School,
    proposal_id: Annotated[
        str, typer.Argument(metavar="PROPOSAL", help="Id of the proposal.", show_default=False)
    ],
    accept: Annotated[
        bool, typer.Option("--accept", help="They are one: merge them. Cannot be undone.")
    ] = False,
    reject: Annotated[bool, typer.Option("--reject", help="They are two: never propose them again.")] = False,
    comment: Comment = "",
) -> None:
    """Merge the two records of a proposal, or never propose them again."""
    if accept == reject:
        raise typer.BadParameter("give exactly one of the two", param_hint=_DECISIONS)
    request = ResolveIdentityProposalRequest(
        school_id=school,
        proposal_id=proposal_id,
        resolution=_resolution(accept=accept),
        comment=comment,
        request_id=str(uuid.uuid4()),
    )
    answer = client.call(client.identity.ResolveIdentityProposal, request)
    told = "accepted" if accept else "rejected"
    console.out().print(console.clean(f"{answer.proposal.proposal_id} {told}"))
    if answer.HasField("run"):
        console.remark(f"next: schoolgate run {school} {answer.run.run_id} --watch, which merges them")


def _resolution(*, accept: bool) -> ResolveIdentityProposalRequest.Resolution.ValueType:
    if accept:
        return ResolveIdentityProposalRequest.RESOLUTION_ACCEPT
    return ResolveIdentityProposalRequest.RESOLUTION_REJECT


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    client_command(app, "merge")(merge)
    client_command(app, "proposals")(proposals)
    client_command(app, "resolve-proposal")(resolve_proposal)
