# SPDX-License-Identifier: Apache-2.0
# Writes OUT, a C++ source that holds the FILES (a list separated by commas) of
# DIR as the function FUNCTION of static_files.h.
string(REPLACE "," ";" FILES "${FILES}")
set(arrays "")
set(rows "")
set(number 0)
foreach(name ${FILES})
  set(path "${DIR}/${name}")
  # One that is name=path is read from there.
  if(name MATCHES "^([^=]+)=(.+)$")
    set(name "${CMAKE_MATCH_1}")
    set(path "${CMAKE_MATCH_2}")
  endif()
  file(READ "${path}" hex HEX)
  string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "\\\\x\\1" hex "${hex}")
  string(REGEX REPLACE "([^\n]+)" "\"\\1\"" hex "${hex}")
  string(APPEND arrays "constexpr char kFile${number}[] = \"\"\n${hex};\n")
  string(APPEND rows "      {\"${name}\", {kFile${number}, sizeof kFile${number} - 1}},\n")
  math(EXPR number "${number} + 1")
endforeach()
file(WRITE "${OUT}" "// Made by embed_files.cmake.
#include \"gateway/static_files.h\"

namespace camherd::gateway {
namespace {
${arrays}
}  // namespace

const std::vector<StaticFile>& ${FUNCTION}() {
  static const auto& files = *new std::vector<StaticFile>{
${rows}  };
  return files;
}

}  // namespace camherd::gateway
")
