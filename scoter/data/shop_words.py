"""The words of the simulated shop; brand, category and product words share none."""

_BRANDS = """\
Quillmark, Oriza, Thundervale, Pemberton, Zephyrix, Kowalski & Sons, Blue Heron, Maridiano, \
Ironclad, Sakura House, Velocitek, Old Mill, Nordlys, Cactus Jack, Penguin Bay, Saffron Lane"""
_STYLES = """\
Compact, Classic, Slim, Folding, Deluxe, Rugged, Simple, Striped, Heavy, Round, Bright, \
Quiet, Tall, Soft, Vintage, Modular"""
_PRODUCTS = """\
Camping: tent, sleeping bag, hammock, canteen, camp stove, tarp, headlamp, bivouac sack
Kitchen: frying pan, whisk, toaster, cutting board, saucepan, ladle, blender, colander
Music: guitar, violin, drum kit, clarinet, ukulele, trumpet, keyboard piano, metronome
Gardening: watering can, trowel, rake, flower pot, hedge shears, compost bin, seed tray, wheelbarrow
Cycling: bicycle, bike pump, pannier, handlebar tape, cycling jersey, chain lube, saddle, bike lock
Skincare: face cream, cleanser, sunscreen, serum, clay mask, toner, lip balm, exfoliator
Toys: jigsaw puzzle, teddy bear, toy train, kite, building blocks, doll house, yo-yo, marble run
Office: stapler, notebook, desk lamp, fountain pen, paper tray, hole punch, whiteboard, binder
Fishing: fishing rod, tackle box, reel, landing net, waders, spinner lure, fish finder, bait bucket
Pets: dog leash, cat tree, aquarium, bird cage, pet bed, chew bone, litter box, hamster wheel
Photography: tripod, camera lens, flash unit, camera strap, light meter, photo paper, lens cap, \
softbox
Sewing: sewing machine, thread spool, pin cushion, shears, thimble, zipper, bobbin, tape measure
Winter Sports: ski goggles, snowboard, ice skates, ski poles, sled, ski boots, snowshoes, ski wax
Automotive: car jack, motor oil, wiper blades, tyre gauge, jump leads, seat cover, dashcam, \
spark plug
Baby: stroller, pacifier, crib, baby monitor, high chair, diaper bag, bottle warmer, teether
Astronomy: telescope, star chart, eyepiece, planisphere, sky filter, finderscope, dew shield, \
sky tracker"""

BRANDS = tuple(_BRANDS.split(", "))
STYLES = tuple(_STYLES.split(", "))
_ROWS = (row.partition(": ") for row in _PRODUCTS.splitlines())
PRODUCTS = {category: tuple(nouns.split(", ")) for category, _, nouns in _ROWS}
