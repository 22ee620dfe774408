"""The sections of a report, a module each: `section(experiment)` makes one of what the folders say."""
