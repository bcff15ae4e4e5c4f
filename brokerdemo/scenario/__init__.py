"""The tool behind scenarios/."""
