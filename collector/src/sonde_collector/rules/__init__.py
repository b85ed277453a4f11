"""The desk where rules of unlock checks are written: reads, tries, explains, scaffolds and packs them."""
