"""An MCP server whose tools are photons, which can be edited while it runs."""
