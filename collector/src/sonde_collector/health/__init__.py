"""How servers, targets and origin groups are doing: judged from all vantages that are fit to judge."""
