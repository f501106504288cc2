"""How a site is rewritten: one module a strategy, LibCST transformers on the expression that holds it."""
