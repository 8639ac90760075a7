"""SCAM: the SAT encoder, the generator and the masked attention that both use."""
