"""From text to plain data: YAML nodes with lines, variables, merges."""
