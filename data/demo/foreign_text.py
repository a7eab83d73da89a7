"""Paragraphs of our own in German, French, Spanish and Russian, on science and programming: no installation has such text.

A topic is a title and sentences that each stand alone; pages are made of selections of them, so that the language
filter meets many different pages. The topics are the same in every language.
"""

from random import Random
from typing import NamedTuple


class Topic(NamedTuple):
    """A title and the sentences about it, in order."""

    title: str
    sentences: tuple[str, ...]


def topics(language: str) -> list[Topic]:
    """The topics of one language (`de`, `fr`, `es` or `ru`)."""
    parts = [part.strip().split("\n") for part in _TEXT[language].strip().split("\n\n")]
    return [Topic(part[0], tuple(part[1:])) for part in parts]


def paragraph(topic: Topic, random: Random) -> str:
    """Three or four of a topic's sentences in any order: enough ways that a paragraph hardly ever comes twice."""
    return " ".join(random.sample(topic.sentences, random.randint(3, 4)))


_GERMAN = """
Matrizen und lineare Gleichungen
Eine Matrix ist eine rechteckige Anordnung von Zahlen, mit der sich lineare Abbildungen knapp beschreiben lassen.
Wer ein lineares Gleichungssystem lösen will, zerlegt die Matrix meist zuerst in zwei einfachere Faktoren.
Die Determinante verrät, ob ein System genau eine Lösung besitzt oder ob unendlich viele möglich sind.
Eigenwerte geben an, um welchen Faktor bestimmte Richtungen durch die Abbildung gestreckt werden.
Bei großen, dünn besetzten Matrizen speichert man nur die Einträge, die von null verschieden sind.
Rundungsfehler wachsen mit der Kondition der Matrix und dürfen deshalb nicht vernachlässigt werden.

Graphen und Wege
Ein Graph besteht aus Knoten und aus Kanten, die je zwei Knoten miteinander verbinden.
Der kürzeste Weg zwischen zwei Orten lässt sich mit einem Verfahren finden, das Dijkstra im Jahr 1959 veröffentlichte.
In einem Baum gibt es zwischen zwei Knoten genau einen Weg, und kein Kreis kommt vor.
Netzwerke aus Freundschaften zeigen oft wenige Personen, die ungewöhnlich viele Verbindungen haben.
Wird eine einzige Kante entfernt, kann der ganze Graph in zwei Teile zerfallen.
Viele Fragen der Verkehrsplanung werden auf die Suche nach einem größten Fluss zurückgeführt.

Wahrscheinlichkeit und Statistik
Der Mittelwert einer Stichprobe nähert sich mit wachsendem Umfang dem Erwartungswert an.
Eine Verteilung beschreibt, wie häufig die möglichen Werte einer zufälligen Größe auftreten.
Zwei Merkmale können stark zusammenhängen, ohne dass das eine die Ursache des anderen wäre.
Ein Vertrauensbereich sagt, zwischen welchen Grenzen der wahre Wert vermutlich liegt.
Ausreißer verändern den Mittelwert deutlich, den Median dagegen kaum.
Vor jeder Messung sollte feststehen, welche Vermutung geprüft werden soll.

Programmieren in kleinen Schritten
Ein gutes Programm ist in Funktionen gegliedert, von denen jede genau eine Aufgabe erfüllt.
Namen von Variablen sollten sagen, was gemeint ist, und nicht, wie es gespeichert wird.
Tests werden am besten geschrieben, bevor der Fehler zum dritten Mal auftritt.
Wer fremden Code liest, lernt meist mehr als aus einem Lehrbuch.
Eine Schleife, die niemals endet, bemerkt man oft erst am lauten Lüfter des Rechners.
Kommentare erklären den Grund einer Entscheidung, denn was geschieht, steht bereits im Code.

Numerische Integration
Das Integral einer Funktion wird näherungsweise bestimmt, indem man die Fläche in schmale Streifen teilt.
Die Simpsonregel benutzt Parabelbögen und ist für glatte Funktionen erstaunlich genau.
Halbiert man die Schrittweite, so lässt sich aus beiden Ergebnissen der Fehler schätzen.
Bei steifen Differentialgleichungen müssen implizite Verfahren eingesetzt werden.
Eine Singularität am Rand verlangt eine Substitution oder eine besondere Gewichtung der Stützstellen.
Manche Integrale in hohen Dimensionen berechnet man am besten mit zufälligen Punkten.

Signale und Filter
Jedes periodische Signal lässt sich als Summe von Sinusschwingungen darstellen.
Die schnelle Fouriertransformation senkt den Aufwand von quadratisch auf fast linear.
Ein Tiefpass lässt langsame Änderungen durch und dämpft das Rauschen in hohen Frequenzen.
Wird ein Ton zu selten abgetastet, entstehen falsche Frequenzen, die es im Original nicht gab.
Fensterfunktionen verringern die Sprünge an den Enden eines kurzen Ausschnitts.
Das Gehör löst tiefe Frequenzen feiner auf als hohe, und gute Verfahren berücksichtigen das.

Neuronale Netze
Ein künstliches neuronales Netz besteht aus Schichten einfacher Einheiten, deren Gewichte gelernt werden.
Beim Training wird der Fehler rückwärts durch alle Schichten verteilt.
Ist die Lernrate zu groß, springt das Verfahren über das Minimum hinweg.
Ein Netz, das die Beispiele auswendig lernt, versagt bei neuen Daten.
Für Sprache haben sich Modelle bewährt, die jedem Wort unterschiedlich viel Aufmerksamkeit schenken.
Der Strombedarf großer Modelle ist inzwischen selbst ein Gegenstand der Forschung.

Astronomie und Messung
Das Licht der Sonne braucht etwas mehr als acht Minuten, bis es die Erde erreicht.
Aus der Verschiebung der Spektrallinien schließt man auf die Geschwindigkeit eines Sterns.
Teleskope auf hohen Bergen leiden weniger unter der Unruhe der Luft.
Die Entfernung naher Sterne wird aus ihrer scheinbaren Bewegung im Laufe eines Jahres berechnet.
Ein Katalog enthält für jedes Objekt Ort, Helligkeit und den Fehler der Messung.
Planeten um andere Sterne verraten sich oft durch eine winzige, regelmäßige Verdunkelung.
"""

_FRENCH = """
Matrices et équations linéaires
Une matrice est un tableau rectangulaire de nombres qui décrit de façon compacte une application linéaire.
Pour résoudre un système linéaire, on commence en général par factoriser la matrice.
Le déterminant indique si le système possède une solution unique.
Les valeurs propres mesurent l'étirement que subissent certaines directions de l'espace.
Dans une matrice creuse, on ne conserve en mémoire que les coefficients non nuls.
Les erreurs d'arrondi dépendent du conditionnement et ne doivent pas être négligées.

Graphes et chemins
Un graphe est formé de sommets reliés deux à deux par des arêtes.
Le plus court chemin entre deux villes peut être calculé grâce à un algorithme publié en 1959.
Dans un arbre, il existe un seul chemin entre deux sommets quelconques.
Les réseaux sociaux comptent souvent quelques personnes très liées et beaucoup de membres isolés.
La suppression d'une seule arête suffit parfois à séparer le graphe en deux morceaux.
De nombreux problèmes de transport se ramènent à la recherche d'un flot maximal.

Probabilités et statistique
La moyenne d'un échantillon se rapproche de l'espérance lorsque sa taille augmente.
Une loi de probabilité décrit la fréquence des valeurs que peut prendre une grandeur aléatoire.
Une corrélation entre deux variables ne prouve pas que l'une soit la cause de l'autre.
L'intervalle de confiance donne les bornes entre lesquelles se trouve sans doute la vraie valeur.
La médiane résiste bien mieux que la moyenne à quelques mesures aberrantes.
Avant toute expérience, il convient d'énoncer clairement l'hypothèse que l'on veut vérifier.

Programmer pas à pas
Un bon programme se compose de petites fonctions qui accomplissent chacune une seule tâche.
Le nom d'une variable devrait dire ce qu'elle représente et non la manière dont elle est stockée.
On écrit les tests avant que la même erreur ne revienne une troisième fois.
La lecture du code des autres apprend souvent davantage qu'un manuel.
Une boucle qui ne se termine jamais finit toujours par se faire entendre.
Les commentaires expliquent pourquoi une décision a été prise, le code montre déjà comment.

Intégration numérique
On approche l'intégrale d'une fonction en découpant la surface en bandes étroites.
La méthode de Simpson utilise des arcs de parabole et se révèle très précise pour les fonctions régulières.
En divisant le pas par deux, on obtient une estimation de l'erreur commise.
Les équations différentielles raides exigent des schémas implicites.
Une singularité au bord impose un changement de variable ou des poids particuliers.
Certaines intégrales en grande dimension se calculent mieux avec des points tirés au hasard.

Signaux et filtres
Tout signal périodique peut s'écrire comme une somme de sinusoïdes.
La transformée de Fourier rapide réduit considérablement le nombre d'opérations.
Un filtre passe-bas conserve les variations lentes et atténue le bruit des hautes fréquences.
Un échantillonnage trop lent fait apparaître des fréquences qui n'existaient pas dans l'original.
Les fenêtres adoucissent les bords d'un extrait de courte durée.
L'oreille distingue mieux les sons graves, et les bonnes méthodes en tiennent compte.

Réseaux de neurones
Un réseau de neurones artificiels est une suite de couches dont les poids sont appris à partir d'exemples.
Pendant l'apprentissage, l'erreur est propagée en sens inverse à travers toutes les couches.
Un pas d'apprentissage trop grand empêche la méthode de converger.
Un modèle qui retient ses exemples par cœur échoue devant des données nouvelles.
Pour le langage, on emploie des modèles qui accordent à chaque mot une attention différente.
La consommation électrique des grands modèles est devenue à son tour un sujet d'étude.

Astronomie et mesures
La lumière du Soleil met un peu plus de huit minutes pour atteindre la Terre.
Le décalage des raies spectrales révèle la vitesse d'une étoile.
Les télescopes installés en altitude souffrent moins de la turbulence de l'air.
On déduit la distance des étoiles proches de leur déplacement apparent au cours de l'année.
Un catalogue donne pour chaque objet sa position, son éclat et l'incertitude de la mesure.
Les planètes lointaines se trahissent souvent par une baisse minuscule et régulière de la lumière.
"""

_SPANISH = """
Matrices y ecuaciones lineales
Una matriz es una tabla rectangular de números que describe de forma breve una aplicación lineal.
Para resolver un sistema lineal conviene descomponer primero la matriz en factores más sencillos.
El determinante indica si el sistema tiene una única solución.
Los valores propios dicen cuánto se estiran ciertas direcciones del espacio.
En las matrices dispersas solo se guardan los elementos distintos de cero.
Los errores de redondeo crecen con el número de condición y no deben olvidarse.

Grafos y caminos
Un grafo está formado por vértices y por aristas que unen pares de vértices.
El camino más corto entre dos ciudades se encuentra con un algoritmo publicado en 1959.
En un árbol existe un solo camino entre dos vértices cualesquiera.
Las redes sociales suelen tener pocas personas con muchísimas conexiones.
Basta a veces con quitar una arista para que el grafo se divida en dos partes.
Muchos problemas de transporte se reducen a buscar un flujo máximo.

Probabilidad y estadística
La media de una muestra se acerca al valor esperado cuando aumenta su tamaño.
Una distribución describe con qué frecuencia aparecen los valores de una magnitud aleatoria.
Que dos variables estén relacionadas no demuestra que una sea la causa de la otra.
El intervalo de confianza señala los límites entre los que probablemente se halla el valor verdadero.
La mediana resiste mejor que la media unos pocos datos extremos.
Antes de medir hay que decidir qué hipótesis se quiere comprobar.

Programar paso a paso
Un buen programa se divide en funciones pequeñas, y cada una cumple una sola tarea.
El nombre de una variable debería decir qué significa y no cómo se almacena.
Las pruebas se escriben antes de que el mismo error aparezca por tercera vez.
Leer el código de otros enseña a menudo más que un libro de texto.
Un bucle que nunca termina se nota tarde o temprano por el ruido del ventilador.
Los comentarios explican el motivo de una decisión, porque el código ya muestra lo que ocurre.

Integración numérica
La integral de una función se aproxima dividiendo el área en franjas estrechas.
La regla de Simpson emplea arcos de parábola y resulta muy exacta con funciones suaves.
Al reducir el paso a la mitad se obtiene una estimación del error cometido.
Las ecuaciones diferenciales rígidas exigen métodos implícitos.
Una singularidad en el borde obliga a cambiar de variable o a usar pesos especiales.
Algunas integrales de dimensión alta se calculan mejor con puntos elegidos al azar.

Señales y filtros
Toda señal periódica puede escribirse como una suma de ondas sinusoidales.
La transformada rápida de Fourier reduce mucho el número de operaciones.
Un filtro de paso bajo conserva los cambios lentos y atenúa el ruido de alta frecuencia.
Si se toman pocas muestras, aparecen frecuencias que no estaban en el sonido original.
Las ventanas suavizan los extremos de un fragmento corto.
El oído distingue mejor los sonidos graves, y los buenos métodos lo tienen en cuenta.

Redes neuronales
Una red neuronal artificial consta de capas de unidades sencillas cuyos pesos se aprenden con ejemplos.
Durante el entrenamiento el error se propaga hacia atrás por todas las capas.
Si la tasa de aprendizaje es demasiado grande, el método no converge.
Un modelo que aprende los ejemplos de memoria fracasa ante datos nuevos.
Para el lenguaje se usan modelos que prestan una atención distinta a cada palabra.
El consumo eléctrico de los grandes modelos ya es también objeto de investigación.

Astronomía y mediciones
La luz del Sol tarda algo más de ocho minutos en llegar a la Tierra.
El desplazamiento de las líneas espectrales revela la velocidad de una estrella.
Los telescopios situados en montañas altas sufren menos la turbulencia del aire.
La distancia de las estrellas cercanas se deduce de su movimiento aparente durante el año.
Un catálogo contiene la posición, el brillo y el error de medida de cada objeto.
Los planetas de otras estrellas se delatan a menudo por un oscurecimiento diminuto y regular.
"""

_RUSSIAN = """
Матрицы и линейные уравнения
Матрица представляет собой прямоугольную таблицу чисел, которая кратко описывает линейное отображение.
Чтобы решить систему линейных уравнений, матрицу обычно раскладывают на более простые множители.
Определитель показывает, имеет ли система единственное решение.
Собственные значения говорят о том, во сколько раз растягиваются отдельные направления пространства.
В разреженных матрицах хранят только те элементы, которые отличны от нуля.
Ошибки округления растут вместе с числом обусловленности, и забывать о них нельзя.

Графы и пути
Граф состоит из вершин и рёбер, соединяющих пары вершин.
Кратчайший путь между двумя городами находят с помощью алгоритма, опубликованного в 1959 году.
В дереве между любыми двумя вершинами существует ровно один путь.
В социальных сетях немногие люди имеют необычно много связей.
Иногда достаточно удалить одно ребро, чтобы граф распался на две части.
Многие задачи о перевозках сводятся к поиску наибольшего потока.

Вероятность и статистика
Среднее значение выборки приближается к математическому ожиданию, когда её объём растёт.
Распределение описывает, как часто встречаются возможные значения случайной величины.
Связь между двумя признаками ещё не доказывает, что один из них является причиной другого.
Доверительный интервал указывает границы, в которых, вероятно, лежит истинное значение.
Медиана гораздо устойчивее среднего к нескольким ошибочным измерениям.
До начала опыта нужно ясно сказать, какая гипотеза будет проверяться.

Программирование шаг за шагом
Хорошая программа состоит из небольших функций, каждая из которых решает одну задачу.
Имя переменной должно говорить о её смысле, а не о способе хранения.
Тесты пишут раньше, чем одна и та же ошибка появится в третий раз.
Чтение чужого кода часто учит большему, чем учебник.
Цикл, который никогда не заканчивается, рано или поздно выдаёт себя шумом вентилятора.
Комментарии объясняют причину решения, потому что сам код уже показывает, что происходит.

Численное интегрирование
Интеграл функции вычисляют приближённо, разделяя площадь на узкие полосы.
Метод Симпсона использует дуги парабол и очень точен для гладких функций.
Уменьшив шаг вдвое, можно оценить допущенную погрешность.
Жёсткие дифференциальные уравнения требуют неявных методов.
Особенность на границе вынуждает сделать замену переменной или выбрать особые веса.
Некоторые многомерные интегралы лучше всего вычислять по случайным точкам.

Сигналы и фильтры
Любой периодический сигнал можно записать как сумму синусоид.
Быстрое преобразование Фурье намного сокращает количество операций.
Фильтр нижних частот пропускает медленные изменения и ослабляет высокочастотный шум.
Если отсчётов слишком мало, появляются частоты, которых не было в исходном звуке.
Оконные функции сглаживают края короткого отрывка.
Слух лучше различает низкие звуки, и хорошие методы это учитывают.

Нейронные сети
Искусственная нейронная сеть состоит из слоёв простых элементов, веса которых подбираются по примерам.
Во время обучения ошибка распространяется назад через все слои.
При слишком большой скорости обучения метод не сходится.
Модель, выучившая примеры наизусть, ошибается на новых данных.
Для языка применяют модели, которые уделяют каждому слову разное внимание.
Расход электроэнергии большими моделями сам стал предметом исследований.

Астрономия и измерения
Свет Солнца достигает Земли немногим более чем за восемь минут.
По смещению спектральных линий узнают скорость звезды.
Телескопы на высоких горах меньше страдают от неспокойного воздуха.
Расстояние до близких звёзд находят по их видимому движению в течение года.
Каталог содержит положение, яркость и погрешность измерения каждого объекта.
Планеты у других звёзд часто выдают себя крошечным и регулярным ослаблением света.
"""

_TEXT = {"de": _GERMAN, "fr": _FRENCH, "es": _SPANISH, "ru": _RUSSIAN}
LANGUAGES = tuple(_TEXT)
