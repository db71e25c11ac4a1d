"""How much two right answers may differ."""
