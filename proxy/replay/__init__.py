"""What-if replay: recorded calls are decided again under another configuration. Pure; it calls no provider."""
