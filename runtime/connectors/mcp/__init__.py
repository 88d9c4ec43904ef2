"""Tools of MCP servers as actions: https://modelcontextprotocol.io."""
