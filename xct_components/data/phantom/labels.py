"""What the voxels of the label map stand for, and what those tissues read on CT."""

from __future__ import annotations

#: Integer of every structure in the label map; lungs, diaphragm and heart muscle stay where fluid or lesions do not cover them.
LABELS: dict[str, int] = {
    name: number
    for number, name in enumerate(
        (
            "outside_air",
            "skin",
            "fat",
            "muscle",
            "breast",
            "mediastinal_fat",
            "abdominal_fat",
            "lung_right",
            "lung_left",
            "lung_vessel",
            "airway",
            "heart",
            "aorta",
            "pulmonary_artery",
            "vein",
            "oesophagus",
            "vertebra",
            "disc",
            "spinal_canal",
            "rib",
            "cartilage",
            "sternum",
            "scapula",
            "clavicle",
            "humerus",
            "diaphragm",
            "liver",
            "spleen",
            "stomach",
            "gas",
            "effusion",
            "nodule",
            "consolidation",
        )
    )
}

#: CT numbers without contrast medium, HU: what radiology textbooks give for 120 kVp (general knowledge, not one source).
AIR_HU = -1000.0
SKIN_HU = 10.0
FAT_HU = -102.0
MUSCLE_HU = 52.0
BLOOD_HU = 42.0
MYOCARDIUM_HU = 46.0
LIVER_HU = 58.0
SPLEEN_HU = 50.0
STOMACH_WALL_HU = 38.0
STOMACH_CONTENT_HU = 18.0
GLAND_HU = 25.0
OESOPHAGUS_HU = 36.0
AIRWAY_WALL_HU = 10.0
DISC_HU = 85.0
CANAL_HU = 28.0
CORTICAL_HU = 880.0
CARTILAGE_HU = 95.0
EFFUSION_HU = 8.0
NODULE_HU = 30.0
CONSOLIDATION_HU = 25.0
EMPHYSEMA_HU = -965.0

#: Standard deviation of the patchiness of tissues on the scale of a centimetre, HU, where it differs from 4.
PATCHINESS_HU: dict[str, float] = {
    "outside_air": 0.0,
    "gas": 0.0,
    "airway": 0.0,
    "fat": 9.0,
    "mediastinal_fat": 12.0,
    "abdominal_fat": 14.0,
    "muscle": 16.0,
    "breast": 14.0,
    "lung_right": 16.0,
    "lung_left": 16.0,
    "consolidation": 30.0,
    "vertebra": 30.0,
    "cartilage": 18.0,
    "liver": 6.0,
}
USUAL_PATCHINESS_HU = 4.0
