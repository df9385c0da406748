# make install: bin/quire finds share/quire beside it, wherever the prefix is moved to.
include(GNUInstallDirs)
if(TARGET quire)
  install(TARGETS quire RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  install(DIRECTORY share/quire/ DESTINATION ${CMAKE_INSTALL_DATADIR}/quire)
  install(FILES LICENSE third_party/NOTICE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/quire)
endif()
