"""Optional parts that stand on other packages."""
