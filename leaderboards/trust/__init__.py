"""Trust in submissions: tiers, judgements, commitments and the signed ledger of a board."""

__all__ = ()
