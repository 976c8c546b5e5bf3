//! `(&Chat, Command, now) -> Result<Plan, Refusal>`: dispatch, and the table of legal moves.
