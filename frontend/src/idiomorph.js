// A classic script: it leaves `Idiomorph` behind.
import { Idiomorph } from "idiomorph";

globalThis.Idiomorph = Idiomorph;
