from keras_parts.cli import main

main(prog_name="keras-parts")
