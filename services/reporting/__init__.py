"""Reporting: orders, money and compensations by outcome. A Faust service without odradek."""
