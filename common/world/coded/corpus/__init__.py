"""What base models of coded worlds read, kind by kind: from copying up to choosing an API by what words mean.

No document holds a Thought or an Action, a held-out category, or the name of an unseen tool.
"""
