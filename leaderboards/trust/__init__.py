"""How far a submission is to be trusted: judgements, commitments and the signed ledger of a board."""
