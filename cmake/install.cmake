# make install and the relocatable layout: bin/quire beside share/quire.
