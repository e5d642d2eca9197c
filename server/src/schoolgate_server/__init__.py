"""The schoolgate service: reads schools' MISs, keeps versioned canonical copies, answers over gRPC."""
