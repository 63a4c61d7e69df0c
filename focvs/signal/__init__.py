"""What a pulse sequence shows of tissue: signals of proton density, T1 and T2."""
