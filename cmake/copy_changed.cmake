# Copies the files of FROM whose content is not in TO already; the others keep their time stamps.
file(GLOB files ${FROM}/*)
foreach(file ${files})
  get_filename_component(name ${file} NAME)
  execute_process(COMMAND ${CMAKE_COMMAND} -E copy_if_different ${file} ${TO}/${name})
endforeach()
