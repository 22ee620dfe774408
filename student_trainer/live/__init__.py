"""From prompts to examples: the global order, what is asked ahead of each step, the record of every answer."""
