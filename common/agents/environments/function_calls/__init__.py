"""Python functions described, called in processes of their own, and what they return made observations."""
