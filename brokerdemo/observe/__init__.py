"""Observe: the one vocabulary of facts (`events`), the queries on them (`timeline`), the set-up of logs (`logs`)."""
