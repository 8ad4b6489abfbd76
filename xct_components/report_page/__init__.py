"""The page that a person opens: ``report.html`` of a run, and the index of a batch. Each is one file that asks for nothing."""
