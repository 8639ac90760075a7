"""The baselines that SCAM is compared with: SPADE, CLADE, SEAN, SEAN-CLADE, INADE and GroupDNet."""
