# SPDX-License-Identifier: Apache-2.0
# Writes OUT, a C++ source that holds the FILES (a list separated by commas) of
# DIR as StaticFiles().
string(REPLACE "," ";" FILES "${FILES}")
set(arrays "")
set(rows "")
set(number 0)
foreach(name ${FILES})
  file(READ "${DIR}/${name}" hex HEX)
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

const std::vector<StaticFile>& StaticFiles() {
  static const auto& files = *new std::vector<StaticFile>{
${rows}  };
  return files;
}

}  // namespace camherd::gateway
")
