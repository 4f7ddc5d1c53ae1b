"""Labels that come late: kept predictions, joined with what turned out to be true."""
