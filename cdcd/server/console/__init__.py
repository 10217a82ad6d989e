"""The console: pages for operators, rendered here, for browsers with scripts and for those without."""
