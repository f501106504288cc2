"""How a site is rewritten: one module a strategy, LibCST on the expression that holds the site."""
